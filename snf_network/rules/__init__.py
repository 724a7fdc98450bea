"""Every nft rule there is, and the loaded ruleset."""
