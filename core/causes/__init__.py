"""The causes of incomplete learning, judged from evidence: one file a cause."""
