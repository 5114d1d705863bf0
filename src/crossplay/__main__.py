"""`python -m crossplay`: the command line, where its script is not on the path."""

from crossplay.cli import main

if __name__ == "__main__":
    main()
