<?php
// The front of the chain, pre-fork: `GOES_ON=PORT POSTGRES=PORT PASSWORD=... php -S ADDRESS front.php`. `/php/N` asks PostgreSQL, then
// Python for `/python/N`.
$number = (int)explode('/', $_SERVER['REQUEST_URI'])[2];
$say = fn(string $line) => file_put_contents('php://stderr', "$line\n");
$say("answered $number");
$password = getenv('PASSWORD');
$link = pg_connect('host=127.0.0.1 port=' . getenv('POSTGRES')
    . " dbname=shop user=php password=$password sslmode=disable gssencmode=disable", PGSQL_CONNECT_FORCE_NEW);
$port = pg_fetch_result(pg_query($link, 'SELECT inet_client_port()'), 0, 0);
$say("asked $number $port");
pg_close($link);
usleep($number % 5 * 1000);
echo file_get_contents('http://127.0.0.1:' . getenv('GOES_ON') . "/python/$number");
