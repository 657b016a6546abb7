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
    erased = said == ["DELETED", "", "", ""][: len(said)]
    return sha256_of(said, f"{salt}\n") == row[f"{kind}_digest"] if salt else erased


def require(holds, at, fault):
    return holds or sys.exit(f"{at[0]}: BROKEN at position {at[1]}: {fault}")


def objects_in(path, **kinds):  # no name twice: some readers would take its first value, some its last
    try:
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                pairs = json.loads(line.decode(), object_pairs_hook=tuple)
                one = dict(pairs) if isinstance(pairs, tuple) and len(dict(pairs)) == len(pairs) else {}
                if any(type(one.get(name)) is not kinds[name] for name in kinds):
                    sys.exit(f"{path}: line {number} is no JSON object with {', '.join(kinds)}, each once")
                yield one
    except (OSError, ValueError, RecursionError) as error:
        sys.exit(f"{path} cannot be read: {error}")


def main(export, anchors_file=None):
    anchors, heads = {}, {}  # heads: what the next row of a chain must follow
    for one in objects_in(anchors_file, chain=str, position=int, hash=str, rows=int) if anchors_file else ():
        anchors.setdefault((one["chain"], one["position"]), set()).add(one["hash"])
    anchors or not anchors_file or sys.exit(f"{anchors_file} has no anchor")
    for row in objects_in(export, chain=str):
        at, previous, offset, gone = heads.get(row["chain"], ((row["chain"], 0), "0" * 64, -1, 0))
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
