"""Questions as files, and all of their points priced into folders that survive being stopped."""
