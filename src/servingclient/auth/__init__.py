"""Where a call goes and with which credential: origins, tokens, endpoint descriptions."""
