"""Pictures of what the drift benchmark found, for docs/drift.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from services.drift.domain.explanation import domain_scores, map_in_two_dimensions
from tests.benchmarks.drift.traffic import INDEPENDENT, Pool, draw, shift

_TESTS = {
    "family": ("all together (1 % in all)", "black"),
    "mean_distance": ("mean distance", "tab:blue"),
    "mmd": ("MMD", "tab:green"),
    "drifted_share": ("drifted share", "tab:orange"),
    "flagged_rate": ("flagged rate", "tab:red"),
    "language": ("language", "tab:purple"),
    "classic_ks_10_percent": ("classic: > 10 % of dimensions", "tab:gray"),
}


def draw_plots(result: dict[str, Any], pool: Pool, folder: Path) -> None:
    """Write drift-power.png, drift-false-alarms.png and drift-map.png into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("drift-power", _power(result["power"])),
        ("drift-false-alarms", _false_alarms(result["false_alarm"])),
        ("drift-map", _map(pool)),
    ):
        figure.savefig(folder / f"{name}.png", dpi=80, bbox_inches="tight")
        plt.close(figure)


def _power(rows: list[dict[str, Any]]) -> Any:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True)
    for axis, kind in zip(axes, ("topic", "jailbreak", "french"), strict=True):
        for test, (label, colour) in _TESTS.items():
            points = sorted(
                (row["share"], row["power"])
                for row in rows
                if (row["test"], row["shift"], row["n"], row["baseline"]) == (test, kind, 1000, 1000)
            )
            if points:
                axis.plot(
                    [100 * share for share, _ in points],
                    [seen for _, seen in points],
                    marker="o",
                    markersize=3,
                    label=label,
                    color=colour,
                )
        axis.set(
            title=f"{kind} shift, 1000 against 1000",
            xlabel="% of the window's prompts replaced",
            ylim=(-0.03, 1.03),
        )
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of windows with an alarm")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncol=7,
        fontsize=8,
        frameon=False,
    )
    return figure


def _false_alarms(rows: list[dict[str, Any]]) -> Any:
    figure, axis = plt.subplots(figsize=(6.5, 2.6))
    labels = [f"{row['stream']}, {row['n']} against {row['baseline']}" for row in rows]
    axis.errorbar(
        [100 * row["false_alarm"] for row in rows],
        range(len(rows)),
        xerr=[196 * row["error"] for row in rows],
        fmt="o",
        color="black",
        capsize=3,
    )
    axis.axvspan(0.5, 1.5, color="tab:green", alpha=0.15)
    axis.axvline(1, color="tab:green")
    axis.set(
        yticks=range(len(rows)),
        yticklabels=labels,
        xlabel="false alarms, % of unchanged windows (95 % interval)",
        xlim=(0, None),
    )
    axis.invert_yaxis()
    return figure


def _map(pool: Pool) -> Any:
    rng = np.random.default_rng(7)
    baseline = pool.embeddings[draw(pool, 1000, stream=INDEPENDENT, rng=rng)]
    before = draw(pool, 1000, stream=INDEPENDENT, rng=rng)
    after = shift(pool, before, kind="jailbreak", share=0.1, held_out=None, rng=rng)
    window, new = pool.embeddings[after], before != after
    scores = domain_scores(window, baseline, rng=rng).window
    there, here = map_in_two_dimensions(window, baseline)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True)
    axes[0].scatter(*here.T, s=3, color="lightgray", label="baseline")
    axes[0].scatter(*there[~new].T, s=3, color="tab:blue", label="window, ordinary")
    axes[0].scatter(*there[new].T, s=6, color="tab:red", label="window, jailbreak")
    axes[0].legend(fontsize=7)
    axes[0].set_title("what really changed", fontsize=9)
    points = axes[1].scatter(*there.T, s=4, c=scores, cmap="coolwarm")
    axes[1].set_title("what the domain classifier makes of it", fontsize=9)
    figure.colorbar(points, ax=axes[1], label="probability of the new window")
    return figure
