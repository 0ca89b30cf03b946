"""`python -m graphsvc`: the command line."""

from graphsvc.cli.main import main

if __name__ == "__main__":
    main(prog_name="graphsvc")
