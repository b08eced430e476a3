"""`python -m parakeetd.cli`."""

from parakeetd.cli import main

if __name__ == "__main__":
    main()
