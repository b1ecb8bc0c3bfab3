"""From a folder or an archive to a sanity card: guards, facts, weights, checks."""
