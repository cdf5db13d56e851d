"""Tables as inputs: a column names the images or holds them, and the others travel to the output."""

from clipcli.inputs.tables.files import TableFormat
from clipcli.inputs.tables.recognise import check_plain_list, looks_like_table, table_format
from clipcli.inputs.tables.table import Table

__all__ = ["Table", "TableFormat", "check_plain_list", "looks_like_table", "table_format"]
