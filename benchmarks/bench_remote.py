"""graphsvc beside its peers and a raw echo, over loopback.

Usage: python benchmarks/bench_remote.py [--environments DIR] [--only SECTION] [--quick]

Every server and every client is a process of its own, and those that are compared take turns, round by round, so that
noise hits all alike. Before a client is timed its gradients are checked. A whole run writes benchmarks/REMOTE.md.
"""

import argparse
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import machine
import tables
from remote import contest, overload, rows

RESULTS: Final = Path(__file__).with_name("REMOTE.md")
PACKAGES: Final = ("graphsvc", "grpcio", "protobuf", "numpy")
SECTIONS: Final = ("small", "vectors", "large", "long", "refusals", "overload")

_ABOUT: Final = (
    "Value and gradient of `sum((x - 1)**2)` in float64, from the call in a client to its arrays. p50 and ratios are "
    "medians over the rounds, whose turns stand side by side. The echo is a server of grpc.aio that sends back as many "
    "bytes as the request has, asked by a client of the same kind; the chunked one puts 128 MiB into an array and "
    "sends them back. Memory is the peak of the server's resident set beyond what it was before the call."
)
_PEERS: Final = "The same by everybody, each in processes of its own: the median from the call to the arrays."


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, default=Path(".venv/remote"), help="where the peers are installed")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="sections to measure; nothing is written")
    parser.add_argument("--quick", action="store_true", help="one short round; nothing is written")
    return parser.parse_args()


def _shown(made: Iterable[rows.Row]) -> list[rows.Row]:
    """Say how each row went."""
    kept = []
    for row in made:
        print(" | ".join(row.cells()), flush=True)
        kept.append(row)
    return kept


def main() -> None:
    """Measure, print, and write the results of a whole run."""
    arguments = _arguments()
    sections = arguments.only or SECTIONS
    pace = contest.Pace(rounds=1, seconds=0.05) if arguments.quick else contest.Pace()
    load = machine.Load()
    found: list[rows.Row] = []
    everybody: list[tuple[str, ...]] = []
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        ours, echo = stack.enter_context(contest.ours()), stack.enter_context(contest.echo())
        if "small" in sections:
            found += _shown(rows.small_calls(ours, echo, pace))
        if "vectors" in sections:
            with ExitStack() as others:
                peers, missing = contest.peers(arguments.environments)
                for peer in peers:
                    others.enter_context(peer)
                compared, everybody = rows.vectors(ours, echo, peers, pace)
            found += _shown(compared)
        parts: dict[str, Callable[[], Iterable[rows.Row]]] = {
            "large": lambda: rows.large_tensor(ours, echo, pace),
            "long": lambda: rows.beside_long_graphs(ours),
            "refusals": lambda: rows.refusals(ours),
            "overload": lambda: overload.overload(ours),
        }
        for section, measure in parts.items():
            if section in sections:
                found += _shown(measure())
    described = machine.describe(PACKAGES) | {"Load": load.describe()}
    described |= {f"Peer {name}": why for name, why in missing.items()}
    head = ("what", "graphsvc", "against", "ratio", "to reach", "reached")
    made = [tables.Table("What is aimed at", _ABOUT, [head, *(row.cells() for row in found)])]
    if everybody:
        sizes = ("", *(f"n = {n:,}" for n in rows.SIZES))
        made.append(tables.Table("Everybody", _PEERS, [sizes, *everybody]))
    print(tables.as_text(made), described["Load"], sep="\n\n")
    if not arguments.only and not arguments.quick:
        tables.write(RESULTS, "make bench-remote", described, made)


if __name__ == "__main__":
    main()
