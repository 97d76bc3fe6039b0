"""`python -m charrnn_server` is `jupyter charrnn`."""

from charrnn_server.app import main

main()
