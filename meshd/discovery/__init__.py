"""What exists and where: from documents to the ports of services and the endpoints behind them."""
