"""What can be said before anything is trained: from the images alone, and on laws whose score is known."""
