"""What is seen: each widget shows what it is given and signals what a person does. No threads, no files."""
