"""What was recorded, on its way to S3 (docs/recorder.md, "Upload to S3")."""
