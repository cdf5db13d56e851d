"""The tables of the feature cache, and how an older cache becomes a present one."""

from __future__ import annotations

import re
import sqlite3

from clipcli.libraries import pixel_libraries, tower_libraries


def _begin(connection: sqlite3.Connection) -> None:
    """Version 1, of clipcli 0.1.0, which may have been killed while it made its tables."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS files"
        " (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest BLOB) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS features"
        " (encoder TEXT, digest BLOB, vector BLOB, made INTEGER, PRIMARY KEY (encoder, digest)) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS models (request TEXT PRIMARY KEY, facts TEXT) WITHOUT ROWID"
    )


def _key_by_version(connection: sqlite3.Connection) -> None:
    """Version 2: images by name and version token, be they files or not; encoders have names."""
    connection.execute("ALTER TABLE files RENAME TO files_before")
    connection.execute("CREATE TABLE files (name BLOB PRIMARY KEY, version TEXT, digest BLOB) WITHOUT ROWID")
    connection.execute("INSERT INTO files SELECT path, size || '-' || mtime_ns, digest FROM files_before")
    connection.execute("DROP TABLE files_before")
    connection.execute("CREATE TABLE encoders (encoder TEXT PRIMARY KEY, model TEXT) WITHOUT ROWID")
    connection.execute(
        "INSERT OR IGNORE INTO encoders SELECT encoder, json_extract(facts, '$.name')"
        " FROM (SELECT DISTINCT encoder FROM features) JOIN models"
        " ON json_valid(facts) AND instr(encoder, json_extract(facts, '$.cache_key')) = 1"
    )


def _key_by_libraries(connection: sqlite3.Connection) -> None:
    """Version 3: an encoder's key names the libraries, which are taken to be those of now.

    Vectors of images in formats whose decoding was wrong keep the key of then, and are not found any more.
    So do those of int8, because towers are made int8 in another way since. Those of classes are made again:
    some were cut wrongly, and it was not noted which words a model knows.
    """
    names = connection.execute("SELECT name, digest FROM files")
    wrong = [(digest,) for name, digest in names if name.lower().endswith(_DECODED_WRONGLY)]
    connection.execute("CREATE TEMPORARY TABLE wrong (digest BLOB PRIMARY KEY)")
    connection.executemany("INSERT OR IGNORE INTO wrong VALUES (?)", wrong)
    for (key,) in connection.execute("SELECT DISTINCT encoder FROM features").fetchall():
        found = re.fullmatch(r"([0-9a-f]{16}-(\w+)-\w+)-pixels2(.*)", key)
        if found and found[2] != "int8":
            tower, precision, decoding = found.groups()
            new = f"{tower}-{tower_libraries(precision)}-pixels3-{pixel_libraries()}{decoding}"
            kept = "encoder = ? AND digest NOT IN (SELECT digest FROM wrong)"
            connection.execute(f"UPDATE features SET encoder = ? WHERE {kept}", (new, key))
            named = "INSERT OR IGNORE INTO encoders SELECT ?, model FROM encoders WHERE encoder = ?"
            connection.execute(named, (new, key))
    connection.execute("DROP TABLE wrong")
    connection.execute("DELETE FROM features WHERE encoder NOT LIKE '%-pixels%'")
    connection.execute("DELETE FROM encoders WHERE encoder NOT IN (SELECT encoder FROM features)")
    connection.execute("DELETE FROM models")


def _number_additions(connection: sqlite3.Connection) -> None:
    """Version 4: what is added is numbered, so that a matrix of the vectors is brought up to date quickly.

    The generation changes when vectors are removed; it identifies the matrices that were made before.
    """
    connection.execute(
        "CREATE TABLE additions (number INTEGER PRIMARY KEY AUTOINCREMENT, encoder TEXT, digest BLOB)"
    )
    connection.execute(
        "CREATE TRIGGER number_additions AFTER INSERT ON features BEGIN"
        " INSERT INTO additions (encoder, digest) VALUES (new.encoder, new.digest); END"
    )
    connection.execute("CREATE TABLE generation (token TEXT)")
    connection.execute("INSERT INTO generation VALUES (lower(hex(randomblob(6))))")


_DECODED_WRONGLY = (b".bmp", b".dib", b".ico", b".tga", b".tif", b".tiff")
_MIGRATIONS = (_begin, _key_by_version, _key_by_libraries, _number_additions)
"""The step to each version of the schema from the one before; a new cache takes them all."""


def refuse_newer(connection: sqlite3.Connection) -> None:
    """Leave a cache alone whose schema this package does not know.

    Raises:
        sqlite3.OperationalError: it was written by a newer clipcli.
    """
    version = _schema_version(connection)
    if version > len(_MIGRATIONS):
        raise sqlite3.OperationalError(
            f"it was written by a newer clipcli: schema {version}, this one knows {len(_MIGRATIONS)}"
        )


def refuse_older(connection: sqlite3.Connection) -> None:
    """Leave a cache alone that would have to be migrated.

    Raises:
        sqlite3.OperationalError: it has an older schema.
    """
    if (version := _schema_version(connection)) != len(_MIGRATIONS):
        raise sqlite3.OperationalError(f"it has an older schema, {version}, and cannot be written")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an older or new cache to the present schema, all steps or none; one process at a time."""
    if _schema_version(connection) == len(_MIGRATIONS):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for step in _MIGRATIONS[_schema_version(connection) :]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _schema_version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
