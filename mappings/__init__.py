"""One representation into another, purely: orders in, reports out."""
