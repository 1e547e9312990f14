"""Faces and plates in pictures, found and replaced. A demonstration, no guarantee of privacy."""
