use super::*;
use crate::testing::run;

#[test]
fn addresses_of_both_families_take_turns() {
    let check = |found: &[&str], expected: &[&str]| {
        let parse = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        assert_eq!(interleaved(parse(found)), parse(expected));
    };
    check(&[], &[]);
    check(&["[::1]:1", "[::2]:1", "1.1.1.1:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1"]);
    check(&["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"], &["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]);
    check(&["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"], &["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"]);
}

#[test]
fn the_first_address_that_answers_is_taken() {
    run(async {
        let here = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = here.local_addr().unwrap();
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let found = first_to_answer(vec![gone, gone, open]).await.unwrap();
        assert_eq!(found.peer_addr().unwrap(), open);
        let none = first_to_answer(vec![gone, gone]).await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first_to_answer(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}
