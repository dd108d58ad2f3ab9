"""Images in, video out: untrusted bytes, fetched guardedly and handled in limited children."""
