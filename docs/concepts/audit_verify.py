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


def is_whole(row, kind):  # what was erased has no salt
    said, salt = [row[name] for name in SALTED[kind]], row[f"{kind}_salt"]
    right = sha256_of(["DELETED", "", "", ""][: len(said)], "\n") if not salt else row[f"{kind}_digest"]
    return sha256_of(said, f"{salt}\n") == right


def require(holds, at, fault):
    return holds or sys.exit(f"{at[0]}: BROKEN at position {at[1]}: {fault}")


def main(export, anchors_file=None):
    anchors, heads = {}, {}  # heads: what the next row of a chain must follow
    for one in map(json.loads, open(anchors_file, encoding="utf-8") if anchors_file else ()):
        anchors.setdefault((one["chain"], one["position"]), set()).add(one["hash"])
    for row in map(json.loads, open(export, encoding="utf-8")):
        at, previous, offset, gone = heads.get(row.get("chain"), ((row.get("chain"), 0), "0" * 64, -1, 0))
        require(set(row) == ALL and isinstance(row["offset"], int), at, "it has not the fields of a row")
        require((row["position"], row["offset"] > offset) == (at[1], True), at, "a row is missing or moved")
        require(row["previous_hash"] == previous, at, "it does not follow the row before it")
        hashed = sha256_of({"format": "tocsin-audit-1"} | {name: row[name] for name in HASHED})
        require(row["hash"] == hashed, at, "it is not what its hash says")
        require(anchors.get(at, {row["hash"]}) == {row["hash"]}, at, "another hash was anchored")
        require(all(is_whole(row, one) for one in SALTED), at, "who acted, or what was done, was changed")
        gone += not all(row[f"{one}_salt"] for one in SALTED)
        heads[at[0]] = (at[0], at[1] + 1), row["hash"], row["offset"], gone
    for chain, place in sorted(anchors):
        end = heads.get(chain, [(chain, 0)])[0]
        require(end[1] > place, end, f"it ends there, and was anchored up to {place}")
    for (chain, rows), head, _, gone in sorted(heads.values()):
        anchored = max((place + 1 for name, place in anchors if name == chain), default=0)
        print(f"{chain}: whole, {rows} rows up to {head}; anchored: {anchored}; erased: {gone}")
    return None if heads else "there are no rows"


sys.exit(main(*sys.argv[1:3]) if len(sys.argv) > 1 else __doc__)
