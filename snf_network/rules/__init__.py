"""All nft rules, and the loaded ruleset."""
