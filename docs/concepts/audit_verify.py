"""Proves an export of Tocsin's audit, as docs/concepts/audit.md says: audit_verify.py EXPORT [ANCHORS]"""

import hashlib
import json
import sys

HASHED = """chain position previous_hash occurred_at tenant action outcome object_kind entry_id request_id
    actor_kind actor_digest content_digest event_id source sequence topic partition offset""".split()
SALTED = {"actor": ["actor_id", "address"], "content": ["object_id", "reason", "before", "after"]}
ALL = {*HASHED, *SALTED["actor"], *SALTED["content"], "hash", "actor_salt", "content_salt"}


def sha256_of(value, salt=""):  # RFC 8785: keys sorted, no spaces; all keys here are ASCII, all numbers whole
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((salt + text).encode("utf-8", "surrogatepass")).hexdigest()


def is_whole(row, group):
    values, salt = [row[name] for name in SALTED[group]], row[f"{group}_salt"]
    erased = ["DELETED", *[""] * (len(values) - 1)]
    return sha256_of(values, f"{salt}\n") == row[f"{group}_digest"] if salt else values == erased


def fault_of(row, position, previous, offset, anchored):
    if set(row) != ALL:
        return "it has not the fields of a row"
    hashed = {"format": "tocsin-audit-1", **{name: row[name] for name in HASHED}}
    follows = isinstance(row["offset"], int) and row["offset"] > offset
    checks = [
        ("a row is missing, doubled or moved", row["position"], position),
        ("it does not follow the row before it", row["previous_hash"], previous),
        ("its entry is not behind that of the row before it", follows, True),
        ("it is not what its hash says", row["hash"], sha256_of(hashed)),
        ("another hash was anchored", anchored, {row["hash"]}),
        *((f"its {group} was changed", is_whole(row, group), True) for group in SALTED),
    ]
    return next((fault for fault, found, wanted in checks if found != wanted), "")


def main(export, anchors_file=None):
    anchors, heads = {}, {}
    for one in map(json.loads, open(anchors_file, encoding="utf-8") if anchors_file else ()):
        anchors.setdefault((one["chain"], one["position"]), set()).add(one["hash"])
    for row in map(json.loads, open(export, encoding="utf-8")):
        position, previous, offset, erased = heads.get(row.get("chain"), (0, "0" * 64, -1, 0))
        anchored = anchors.get((row.get("chain"), position), {row.get("hash")})
        if fault := fault_of(row, position, previous, offset, anchored):
            return f"{row.get('chain')}: BROKEN at position {position}: {fault}"
        erased += not (row["actor_salt"] and row["content_salt"])
        heads[row["chain"]] = position + 1, row["hash"], row["offset"], erased
    for chain, position in sorted(anchors):
        if (rows := heads.get(chain, (0,))[0]) <= position:
            return f"{chain}: BROKEN at position {rows}: it ends there, and was anchored up to {position}"
    for chain, (rows, head, _, erased) in sorted(heads.items()):
        anchored = max((position + 1 for name, position in anchors if name == chain), default=0)
        print(f"{chain}: whole, {rows} rows up to {head}; anchored: {anchored}; erased: {erased}")
    return None if heads else "there are no rows"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if len(sys.argv) > 1 else __doc__)
