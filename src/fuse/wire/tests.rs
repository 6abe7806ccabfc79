use super::*;

fn u16(data: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([data[at], data[at + 1]])
}

#[test]
fn requests_are_the_same_over_both_ways() {
    let mut whole = vec![0; IN_HEADER];
    whole[4..8].copy_from_slice(&22u32.to_ne_bytes());
    whole[8..16].copy_from_slice(&77u64.to_ne_bytes());
    whole[16..24].copy_from_slice(&5u64.to_ne_bytes());
    whole[32..36].copy_from_slice(&4321u32.to_ne_bytes());
    let header = Header {
        opcode: 22,
        unique: 77,
        ino: 5,
        tid: 4321,
    };
    whole.extend(100u32.to_ne_bytes());
    whole.extend([0; 4]);
    whole.extend(b"user.x\0");
    let one = Request::whole(&whole).expect("long enough");
    let mut fixed = [0; 128];
    fixed[..4].copy_from_slice(&100u32.to_ne_bytes());
    let other = Request::in_parts(Header::parse(&whole), &fixed, b"user.x\0");
    for request in [one, other] {
        assert_eq!(request.header, header);
        assert_eq!(Fields(request.fixed).u32(0), 100);
        assert_eq!(request.name(), b"user.x");
    }
    for cut in 0..whole.len() {
        assert_eq!(Request::whole(&whole[..cut]).is_some(), cut >= IN_HEADER);
    }
}

#[test]
fn what_is_agreed_on_stands_where_linux_looks_for_it() {
    let policy = Policy::new(
        crate::fuse::Content::Pinned,
        crate::fuse::Xattrs::Off,
        InitFlags::all(),
    );
    let mut body = Vec::new();
    let flags = InitFlags::FUSE_INIT_EXT | InitFlags::FUSE_MAX_PAGES;
    for number in [7, 45, 131_072, flags.bits() as u32, 1 << (41 - 32)] {
        body.extend(number.to_ne_bytes());
    }
    let header = Header {
        opcode: INIT,
        unique: 2,
        ino: 0,
        tid: 0,
    };
    let offer = Offer::parse(&Request::in_parts(header, &[], &body));
    assert_eq!((offer.major, offer.minor), (7, 45));
    assert_eq!(offer.flags, flags | InitFlags::FUSE_OVER_IO_URING);
    let out = offer.accept(
        &policy,
        InitFlags::FUSE_OVER_IO_URING | InitFlags::FUSE_ASYNC_READ,
    );
    let fields = Fields(&out);
    assert_eq!(out.len(), 64);
    assert_eq!([0, 4, 8].map(|at| fields.u32(at)), [7, 42, 131_072]);
    assert_eq!(fields.u32(12), 1 | 1 << 30);
    assert_eq!([16, 18].map(|at| u16(&out, at)), [256, 192]);
    assert_eq!([20, 24].map(|at| fields.u32(at)), [1 << 20, 1]);
    assert_eq!(u16(&out, 28), 256);
    assert_eq!(fields.u32(32), 1 << 9);
    // Without the extension there are no further flags.
    let flags = InitFlags::FUSE_ASYNC_READ.bits() as u32;
    body[12..16].copy_from_slice(&flags.to_ne_bytes());
    let offer = Offer::parse(&Request::in_parts(header, &[], &body));
    assert_eq!(offer.flags, InitFlags::FUSE_ASYNC_READ);
}

#[test]
fn notices_say_what_is_to_be_dropped() {
    let name = drop_name(5, b"abc");
    let fields = Fields(&name);
    assert_eq!(
        (fields.u32(0) as usize, fields.u32(4), fields.u64(8)),
        (name.len(), 3, 0)
    );
    assert_eq!((fields.u64(16), fields.u32(24)), (5, 3));
    assert_eq!(&name[32..], b"abc\0");
    let inode = drop_inode(6);
    let fields = Fields(&inode);
    assert_eq!(
        (inode.len(), fields.u32(0), fields.u32(4), fields.u64(16)),
        (40, 40, 2, 6)
    );
}
