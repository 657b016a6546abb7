#!/usr/bin/env python3
"""Proves an export of Tocsin's audit: python audit_verify.py EXPORT [ANCHORS].

It needs Python 3.9 and nothing of Tocsin. docs/concepts/audit.md says what it proves. The exit
status is 0 where every chain is whole, else 1, with the first wrong row named.
"""

import hashlib
import json
import sys

HASHED = """chain position previous_hash occurred_at tenant action outcome object_kind entry_id request_id
    actor_kind actor_digest content_digest event_id source sequence topic partition offset""".split()
ACTOR, CONTENT = ["actor_id", "address"], ["object_id", "reason", "before", "after"]
ALL = {*HASHED, *ACTOR, *CONTENT, "hash", "actor_salt", "content_salt"}


def sha256_of(value, salt=""):  # RFC 8785: keys sorted, no spaces; all keys here are ASCII, all numbers whole
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((salt + text).encode("utf-8", "surrogatepass")).hexdigest()


def holds(row, names, group):
    values, salt = [row[name] for name in names], row[f"{group}_salt"]
    if not salt:  # erased
        return values == ["DELETED"] + [""] * (len(values) - 1)
    return sha256_of(values, f"{salt}\n") == row[f"{group}_digest"]


def wrong(row, position, previous, offset, anchors):
    if set(row) != ALL:
        return "it has not the fields of a row"
    hashed = {name: row[name] for name in HASHED}
    checks = (
        (
            row["position"] == position,
            f"it is at position {row['position']}: a row is missing, doubled or moved",
        ),
        (row["previous_hash"] == previous, "it does not follow the row before it"),
        (
            row["hash"] == sha256_of({"format": "tocsin-audit-1", **hashed}),
            "its hash is not that of what it says",
        ),
        (holds(row, ACTOR, "actor"), "its actor was changed"),
        (holds(row, CONTENT, "content"), "its content was changed"),
        (row["offset"] > offset, "its entry is not behind that of the row before it"),
        (anchors.get((row["chain"], position), {row["hash"]}) == {row["hash"]}, "another hash was anchored"),
    )
    return next((text for fine, text in checks if not fine), "")


def main(export, anchors_file=None):
    anchors, heads = {}, {}
    for line in open(anchors_file, encoding="utf-8") if anchors_file else ():
        one = json.loads(line)
        anchors.setdefault((one["chain"], one["position"]), set()).add(one["hash"])
    for number, line in enumerate(open(export, encoding="utf-8"), 1):
        row = json.loads(line)
        chain = row.get("chain")
        position, previous, offset, erased = heads.get(chain, (0, "0" * 64, -1, 0))
        if why := wrong(row, position, previous, offset, anchors):
            return f"{chain}: BROKEN at position {position} (line {number}): {why}"
        erased += not (row["actor_salt"] and row["content_salt"])
        heads[chain] = (position + 1, row["hash"], row["offset"], erased)
    for chain, position in sorted(anchors):
        if (rows := heads.get(chain, (0,))[0]) <= position:
            return (
                f"{chain}: BROKEN at position {rows}: it ends before position {position}, which was anchored"
            )
    for chain, (rows, head, _, erased) in sorted(heads.items()):
        anchored = max((position + 1 for name, position in anchors if name == chain), default=0)
        print(f"{chain}: whole, {rows} rows up to {head}; anchored: {anchored}; erased: {erased}")
    return None if heads else "there are no rows"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if len(sys.argv) > 1 else __doc__)
