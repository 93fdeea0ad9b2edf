"""`python -m fairgate`."""

from fairgate.cli.main import main

main()
