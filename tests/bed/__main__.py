"""A cluster of several nodes to play with, until Ctrl-C.

make cluster NODES=3
"""

import argparse
import signal
import string
from contextlib import suppress

from bed.cluster import ROOT, Bed
from bed.services import BUCKET


def main() -> None:
    parser = argparse.ArgumentParser(description="A Ray cluster of several nodes on this machine, until Ctrl-C.")
    parser.add_argument("--nodes", type=int, default=2, choices=range(1, 27), metavar="1-26")
    parser.add_argument("--cpus", type=int, default=1, help="of each node, as far as Ray knows")
    given = parser.parse_args()
    with Bed(reachable=True) as bed:
        if bed.why_loopback is not None:
            print(f"no namespaces ({bed.why_loopback}): nodes are addresses of this machine alone", flush=True)
        database = bed.start_postgres().address
        s3, tracking = bed.start_s3().address, bed.start_mlflow(database).address
        bed.start_head()
        for name in string.ascii_lowercase[: given.nodes]:
            bed.start_node(name, given.cpus)
        print(
            f"S3             {s3}, bucket {BUCKET}\n"
            f"PostgreSQL     {database}\n"
            f"MLflow         {tracking}\n"
            f"Ray            {bed.address}, dashboard {bed.dashboard}\n"
            + "".join(f"node {name:<10}{machine.address}\n" for name, machine in bed.machines.items())
            + "\nSubmit a job:\n"
            f"  RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={bed.token_file('head')} ray job submit"
            f" --address {bed.dashboard} --"
            f" python {ROOT}/jobs/full_pipeline.py --preset smoke --set scaling.num_workers={given.nodes}"
            f" --set storage=s3://{BUCKET}/reid --set tracking.uri={tracking}\n"
            "Ctrl-C ends it all; nothing of it is kept.",
            flush=True,
        )
        signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        main()
