"""Two rows side by side: do they ask the same question, do their answers disagree, may both be right?"""
