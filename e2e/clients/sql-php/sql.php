<?php
// SQL clients in PHP: `sql.php KIND PORT PASSWORD`. The user is named after the kind, so that the server counts it apart.
//
// What each kind sends is written out in `e2e/src/clients/{mysql,postgres}.rs`; change both.

declare(strict_types=1);

[, $kind, $port, $password] = $argv;

function check(bool $holds, string $what): void
{
    if (!$holds) throw new Exception("not so: $what");
}

function refused(string|int $code, callable $call): void
{
    try {
        $call();
    } catch (PDOException $error) {
        check($error->errorInfo[is_int($code) ? 1 : 0] === $code, "{$error->getMessage()} is not $code");
        return;
    } catch (mysqli_sql_exception $error) {
        check($error->getCode() === $code, "{$error->getMessage()} is not $code");
        return;
    }
    throw new Exception("no error $code");
}

/** PDO on either database; $emulate: the driver writes values into the text. */
function statements(PDO $pdo, int $first, array $codes): void
{
    $insert = $pdo->prepare('INSERT INTO item (id, name) VALUES (?, ?)');
    for ($at = $first; $at < $first + 10; $at++) $insert->execute([$at, "name $at"]);
    refused($codes['duplicate'], fn() => $insert->execute([$first, 'again']));
    $select = $pdo->prepare('SELECT id, name FROM item WHERE id = :id');
    for ($at = 0; $at < 25; $at++) {
        $select->execute(['id' => $first + $at % 10]);
        check(count($select->fetchAll()) === 1, 'one row');
    }
    refused($codes['missing'], fn() => $pdo->prepare('SELECT * FROM nowhere WHERE id = ?')->execute([1]));
}

function plain(PDO $pdo, array $codes): void
{
    for ($at = 0; $at < 5; $at++) check(count($pdo->query("SELECT name FROM item WHERE id = $at")->fetchAll()) === 1, 'one row');
    check($pdo->exec("UPDATE item SET name = 'other'") > 0, 'rows changed');
    refused($codes['syntax'], fn() => $pdo->query('SELECT FROM WHERE'));
    $pdo->beginTransaction();
    $pdo->exec('DELETE FROM item WHERE id = 1');
    $pdo->rollBack();
    $pdo->beginTransaction();
    $pdo->exec('DELETE FROM item WHERE id = 2');
    $pdo->commit();
}

function pdo_mysql(): void
{
    global $kind, $port, $password;
    $codes = ['duplicate' => 1062, 'missing' => 1146, 'syntax' => 1064];
    foreach ([true, false] as $emulate) {
        $options = [PDO::ATTR_EMULATE_PREPARES => $emulate, PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION];
        $pdo = new PDO("mysql:host=127.0.0.1;port=$port;dbname=shop;charset=utf8mb4", $kind, $password, $options);
        if ($emulate) $pdo->exec('TRUNCATE TABLE item');
        statements($pdo, $emulate ? 0 : 20, $codes);
        if ($emulate) plain($pdo, $codes);
        unset($pdo);
        gc_collect_cycles();
    }
}

function mysqli(): void
{
    global $kind, $port, $password;
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $link = new mysqli('127.0.0.1', $kind, $password, 'shop', (int)$port);
    $link->query('TRUNCATE TABLE item');
    $insert = $link->prepare('INSERT INTO item (id, name, body) VALUES (?, ?, ?)');
    for ($at = 0; $at < 4; $at++) {
        [$name, $body] = ["name $at", null];
        $insert->bind_param('isb', $at, $name, $body);
        // The third value comes ahead, in three pieces.
        for ($piece = 0; $piece < 3; $piece++) $insert->send_long_data(2, str_repeat('b', 500));
        $insert->execute();
    }
    $insert->close();
    $rows = $link->prepare('SELECT id, name, LENGTH(body) FROM item WHERE id >= ?');
    $from = 0;
    $rows->bind_param('i', $from);
    $rows->execute();
    check($rows->get_result()->num_rows === 4, 'four rows');
    $rows->reset();
    $rows->close();
    // Through a cursor: rows are fetched one by one.
    $cursor = $link->prepare('SELECT seq FROM seq_1_to_10');
    $cursor->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
    $cursor->execute();
    $cursor->bind_result($seq);
    for ($count = 0; $cursor->fetch(); $count++);
    check($count === 10, 'ten rows');
    $cursor->close();
    check($link->multi_query('SELECT 1; SELECT 2; SELECT 3'), 'three at once');
    do $link->store_result(); while ($link->more_results() && $link->next_result());
    $link->select_db('other');
    check($link->stat() !== false, 'statistics');
    $link->change_user($kind, $password, 'shop');
    refused(1054, fn() => $link->query('SELECT no_such_column FROM item'));
    $link->close();
}

function pdo_pgsql(): void
{
    global $kind, $port, $password;
    $codes = ['duplicate' => '23505', 'missing' => '42P01', 'syntax' => '42601'];
    foreach ([true, false] as $emulate) {
        $options = [PDO::ATTR_EMULATE_PREPARES => $emulate, PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION];
        $pdo = new PDO("pgsql:host=127.0.0.1;port=$port;dbname=shop", $kind, $password, $options);
        if ($emulate) $pdo->exec('TRUNCATE TABLE item');
        statements($pdo, $emulate ? 0 : 20, $codes);
        if ($emulate) plain($pdo, $codes);
        else {
            check($pdo->pgsqlCopyFromArray('item (id, name)', ["1000\tx", "1001\ty"], "\t"), 'copied in');
            check(count($pdo->pgsqlCopyToArray('item')) > 2, 'copied out');
        }
        unset($pdo);
        gc_collect_cycles();
    }
}

$kind();
