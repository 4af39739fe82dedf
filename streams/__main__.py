"""`python -m streams`: the same as `tideline`."""

from streams.cli.app import main

if __name__ == "__main__":
    main()
