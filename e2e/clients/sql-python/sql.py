"""SQL clients in Python: `sql.py KIND PORT PASSWORD`. The user is named after the kind, so that the server counts it apart.

What each kind sends is written out in `e2e/src/clients/{mysql,postgres}.rs`; change both.
"""
import asyncio
import contextlib
import sys
import time

_, kind, port, password = sys.argv
address = dict(host="127.0.0.1", port=int(port), user=kind, password=password)
WIDE = 17 * 1024 * 1024  # more than a packet of MySQL holds


def refused(error_class, code, call, *arguments):
    """The server must refuse the call, with that code."""
    try:
        call(*arguments)
    except error_class as error:
        assert code in (getattr(error, "errno", None), getattr(error, "sqlstate", None), *error.args[:1]), (error, code)
        return
    raise AssertionError(f"no error {code}: {arguments}")


def wait(word):
    """Tells the test that a part is done, and waits for its word to go on."""
    print(word, flush=True)
    sys.stdin.readline()


def pymysql():
    import pymysql as driver
    from pymysql.constants import CLIENT

    options = dict(local_infile=True, client_flag=CLIENT.MULTI_STATEMENTS, max_allowed_packet=64 << 20)
    connection = driver.connect(database="shop", autocommit=None, **options, **address)
    cursor = connection.cursor()
    cursor.execute("TRUNCATE TABLE item")
    for at in range(20):
        cursor.execute("INSERT INTO item (id, name) VALUES (%s, %s)", (at, f"name'{at}"))
    for at in range(30):
        cursor.execute("SELECT id, name FROM item WHERE id = %s", (at % 20,))
        assert len(cursor.fetchall()) == 1
    for at in range(10):
        cursor.execute("UPDATE item SET name = 'other' WHERE id = %s", (at,))
    for at in range(5):
        cursor.execute("DELETE FROM item WHERE id = %s", (at,))
    refused(driver.MySQLError, 1062, cursor.execute, "INSERT INTO item (id, name) VALUES (7, 'again')")
    refused(driver.MySQLError, 1064, cursor.execute, "SELECT FROM WHERE 'unfinished")
    refused(driver.MySQLError, 1146, cursor.execute, "SELECT * FROM nowhere")
    connection.begin()
    cursor.execute("INSERT INTO item (id, name) VALUES (100, 'a'), (101, 'b')")
    connection.commit()
    connection.begin()
    cursor.execute("DELETE FROM item")
    connection.rollback()
    cursor.execute("SELECT seq, REPEAT('x', 200) FROM seq_1_to_10000")
    assert len(cursor.fetchall()) == 10000
    cursor.execute("SELECT LENGTH(%s)", ("y" * WIDE,))
    assert cursor.fetchone() == (WIDE,)
    cursor.execute("SELECT REPEAT('z', %s)", (WIDE,))
    assert len(cursor.fetchone()[0]) == WIDE
    connection.select_db("other")
    connection.select_db("shop")
    for _ in range(3):
        connection.ping(reconnect=False)
    with open("rows.tsv", "w") as file:
        file.writelines(f"{at}\tloaded\n" for at in range(1000, 4000))
    assert cursor.execute("LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE item (id, name)") == 3000
    cursor.execute("SELECT 1; UPDATE item SET name = 'c' WHERE id = 100; SELECT 2")
    while cursor.nextset():
        pass
    connection.close()


def connector():
    from mysql.connector import Error, connect

    options = dict(database="shop", use_pure=True, ssl_disabled=True, collation="utf8mb4_general_ci", autocommit=True)
    connection = connect(**options, **address)
    connection.cmd_query("TRUNCATE TABLE item")
    cursor = connection.cursor(prepared=True)
    for at in range(10):
        cursor.execute("INSERT INTO item (id, name) VALUES (?, ?)", (at, f"name {at}"))
    refused(Error, 1062, cursor.execute, "INSERT INTO item (id, name) VALUES (?, ?)", (7, "again"))
    cursor.close()
    cursor = connection.cursor(prepared=True)
    for at in range(25):
        cursor.execute("SELECT id, name FROM item WHERE id = ?", (at % 10,))
        assert len(cursor.fetchall()) == 1
    cursor.close()
    cursor = connection.cursor(prepared=True)
    refused(Error, 1146, cursor.execute, "SELECT * FROM nowhere WHERE id = ?", (1,))
    cursor.close()
    cursor = connection.cursor()
    cursor.execute("SELECT COUNT(*) FROM item")
    assert cursor.fetchone() == (10,)
    cursor.close()
    connection.ping()
    connection.cmd_reset_connection()
    connection.cmd_change_user(kind, password, "shop")
    connection.close()


def connector_patient():
    """A session with prepared statements that is older than whoever watches."""
    from mysql.connector import connect

    options = dict(database="shop", use_pure=True, ssl_disabled=True, collation="utf8mb4_general_ci", autocommit=True)
    connection = connect(**options, **address)
    connection.cmd_query("TRUNCATE TABLE item")
    select = connection.cursor(prepared=True)
    insert = connection.cursor(prepared=True)
    select.execute("SELECT id, name FROM item WHERE id = ?", (0,))
    select.fetchall()
    insert.execute("INSERT INTO item (id, name) VALUES (?, ?)", (0, "early"))
    wait("warm")
    for at in range(11):
        select.execute("SELECT id, name FROM item WHERE id = ?", (at,))
        select.fetchall()
    for at in range(1, 8):
        insert.execute("INSERT INTO item (id, name) VALUES (?, ?)", (at, "late"))
    update = connection.cursor(prepared=True)
    for at in range(5):
        update.execute("UPDATE item SET name = ? WHERE id = ?", ("new", at))
    plain = connection.cursor()
    for at in range(3):
        plain.execute("SELECT COUNT(*) FROM item")
        plain.fetchall()
    wait("done")
    connection.close()


def psycopg():
    import psycopg as driver

    connection = driver.connect(dbname="shop", autocommit=True, **address)
    cursor = connection.cursor()
    # What has no parameters goes by the simple protocol.
    cursor.execute("TRUNCATE TABLE item")
    # From the sixth on a named statement.
    for at in range(20):
        cursor.execute("INSERT INTO item (id, name) VALUES (%s, %s)", (at, f"name'{at}"))
    for at in range(30):
        cursor.execute("SELECT id, name FROM item WHERE id = %s", (at % 20,), prepare=False)
        assert len(cursor.fetchall()) == 1
    for at in range(10):
        cursor.execute("UPDATE item SET name = 'other' WHERE id = %s", (at,), prepare=True)
    for at in range(5):
        cursor.execute("DELETE FROM item WHERE id = %s", (at,))
    refused(driver.Error, "23505", cursor.execute, "INSERT INTO item (id, name) VALUES (7, 'again')")
    refused(driver.Error, "42601", cursor.execute, "SELECT FROM WHERE")
    refused(driver.Error, "42P01", cursor.execute, "SELECT * FROM nowhere WHERE id = %s", (1,))
    with connection.transaction():
        cursor.execute("INSERT INTO item (id, name) VALUES (100, 'a'), (101, 'b')")
    with connection.transaction(force_rollback=True):
        cursor.execute("DELETE FROM item")
    cursor.execute("SELECT at, repeat('x', 200) FROM generate_series(1, 10000) AS at")
    assert len(cursor.fetchall()) == 10000
    with cursor.copy("COPY item (id, name) FROM STDIN") as copy:
        for at in range(1000, 4000):
            copy.write_row((at, "copied"))
    with cursor.copy("COPY item TO STDOUT") as copy:
        assert sum(1 for _ in copy.rows()) == 3017
    cursor.execute("SELECT 1; UPDATE item SET name = 'c' WHERE id = 100; SELECT 2")
    cursor.execute("LISTEN news")
    cursor.execute("NOTIFY news, 'all is well'")
    assert next(connection.notifies(timeout=10, stop_after=1)).payload == "all is well"
    # Fifteen requests before the first answer is read.
    with connection.pipeline() as pipeline:
        for at in range(15):
            cursor.execute("SELECT name FROM item WHERE id = %s", (at,), prepare=False)
        pipeline.sync()
    # One that fails takes those after it up to the next Sync with it. The driver says so as soon as it has read the answer, which may be
    # while it sends the next one; of the others it says, at the Sync or at the end, that they were not run.
    said = []
    with contextlib.suppress(driver.errors.PipelineAborted), connection.pipeline() as pipeline:
        cursor.execute("SELECT name FROM item WHERE id = %s", (1,), prepare=False)
        for go_on in [
            lambda: cursor.execute("SELECT 1 / %s", (0,), prepare=False),
            lambda: cursor.execute("SELECT name FROM item WHERE name = %s", ("never run",), prepare=False),
            pipeline.sync,
        ]:
            try:
                go_on()
            except driver.Error as error:
                said.append(error.sqlstate)
    assert said[0] == "22012", said
    with connection.transaction(), connection.cursor(name="window") as window:
        window.itersize = 1000
        window.execute("SELECT id FROM item")
        assert sum(1 for _ in window) == 3017
    connection.close()


def psycopg_patient():
    """A session with named statements that is older than whoever watches."""
    import psycopg as driver

    connection = driver.connect(dbname="shop", autocommit=True, **address)
    cursor = connection.cursor()
    cursor.execute("TRUNCATE TABLE item")
    cursor.execute("SELECT id, name FROM item WHERE id = %s", (0,), prepare=True)
    cursor.execute("INSERT INTO item (id, name) VALUES (%s, 'early')", (0,), prepare=True)
    wait("warm")
    for at in range(11):
        cursor.execute("SELECT id, name FROM item WHERE id = %s", (at,), prepare=True)
    for at in range(1, 8):
        cursor.execute("INSERT INTO item (id, name) VALUES (%s, 'early')", (at,), prepare=True)
    for at in range(5):
        cursor.execute("UPDATE item SET name = 'new' WHERE id = %s", (at,), prepare=True)
    for at in range(3):
        cursor.execute("SELECT count(*) FROM item WHERE id > %s", (at,), prepare=False)
    wait("done")
    connection.close()


async def asyncpg_session():
    import asyncpg as driver

    connection = await driver.connect(database="shop", **address)
    await connection.execute("TRUNCATE TABLE item")
    for at in range(10):
        await connection.execute("INSERT INTO item (id, name) VALUES ($1, $2)", at, f"name {at}")
    for at in range(25):
        assert await connection.fetchval("SELECT name FROM item WHERE id = $1", at % 10)
    try:
        await connection.execute("INSERT INTO item (id, name) VALUES ($1, $2)", 7, "again")
        raise AssertionError("no error")
    except driver.UniqueViolationError:
        pass
    await connection.executemany("UPDATE item SET name = $2 WHERE id = $1", [(at, "many") for at in range(8)])
    rows = [(at, "copied") for at in range(1000, 2000)]
    await connection.copy_records_to_table("item", records=rows, columns=["id", "name"])
    async with connection.transaction():
        await connection.execute("DELETE FROM item")
    try:
        await connection.fetchval("SELECT pg_sleep(60)", timeout=0.2)
        raise AssertionError("no time-out")
    except asyncio.TimeoutError:
        pass  # It has sent a cancel request over a connection of its own.
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def asyncpg():
    asyncio.run(asyncpg_session())


kinds = dict(pymysql=pymysql, connector=connector, connector_patient=connector_patient, psycopg=psycopg,
             psycopg_patient=psycopg_patient, asyncpg=asyncpg)
try:
    kinds[kind]()
except Exception:
    # Who is refused stays for a moment, as services do that try again: a process that is gone within milliseconds goes by
    # the name of its interpreter (docs/metrics.md, service names), and this is about what it sent.
    time.sleep(0.5)
    raise
