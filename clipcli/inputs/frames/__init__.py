"""Images that are made from files: frames of videos and animations, pages of documents, raw photographs."""
