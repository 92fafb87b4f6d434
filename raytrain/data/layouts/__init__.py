"""The layouts that images come in: folders of classes and Parquet files."""
