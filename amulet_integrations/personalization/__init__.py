"""Who a call is for, and what their preferences make of it."""
