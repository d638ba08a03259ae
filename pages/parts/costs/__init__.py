"""What the costs page is made of, and the quick look with its consent, which the library's page shares."""
