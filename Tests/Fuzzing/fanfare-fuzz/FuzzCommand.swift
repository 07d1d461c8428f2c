import FuzzingProperties
import Glibc

// `fanfare-fuzz PROPERTY [OPTION OF LIBFUZZER...] [CORPUS...]`: `scripts/fuzz` calls it. libFuzzer has its `main`.

/// Set once, before anything runs.
nonisolated(unsafe) private var property = Property.all[0]

/// Called by libFuzzer before it reads its arguments: takes the first one, which is the property.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(_ count: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutablePointer<UnsafeMutableRawPointer>)
    -> CInt
{
    let texts = arguments.pointee.assumingMemoryBound(to: UnsafeMutablePointer<CChar>?.self)
    let name = count.pointee >= 2 ? texts[1].map { String(cString: $0) } : nil
    guard let chosen = Property.all.first(where: { $0.name == name }) else {
        print("fanfare-fuzz: the first argument must be one of", Property.all.map(\.name).joined(separator: ", "))
        exit(64)
    }
    property = chosen
    // libFuzzer sees its own options only; the name of the program stays in front.
    texts[1] = texts[0]
    arguments.pointee += MemoryLayout<UnsafeMutablePointer<CChar>?>.stride
    count.pointee -= 1
    return 0
}

/// Called by libFuzzer with each input. A crash tells it that something was found.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    do {
        try property.check(UnsafeRawBufferPointer(start: bytes, count: count))
    } catch {
        fatalError("\(property.name): \(error)")
    }
    return 0
}
