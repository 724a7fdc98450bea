"""What the command line reads and prints: main.py is `snf-network`, with one module for each subcommand;
nfdhcpd and nfdhcpctl have mains of their own. This is the only room that knows argparse.
"""
