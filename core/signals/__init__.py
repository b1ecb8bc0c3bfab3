"""What is measured: numbers per sample that cost a model. One file is one signal."""
