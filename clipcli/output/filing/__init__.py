"""What is done to the user's files: folders by label, keywords; every step is written down, and undone."""
