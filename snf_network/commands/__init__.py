"""Command-line input and output: main.py is `snf-network`, with one module per subcommand; nfdhcpd and
nfdhcpctl have their own entry points. Only this folder uses argparse.
"""
