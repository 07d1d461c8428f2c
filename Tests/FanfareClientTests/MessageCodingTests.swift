import FanfareClient
import FanfareModel
import Foundation
import Testing

/// Typed messages: what goes in comes out, exactly, or there is an error that says where.
struct MessageCodingTests {
    private struct Everything: Codable, Equatable {
        enum Shape: Codable, Equatable {
            case point
            case circle(radius: Double)
            case labelled(String, Int)
        }

        struct Inner: Codable, Equatable {
            var names: [String]
            var matrix: [[Int]]
        }

        var text = "héllo"
        var truth = true
        var whole = Int64.min
        var small: Int8 = -128
        var unsigned = UInt64(Int64.max)
        var number = 1.0
        var float: Float = 0.1
        var bytes: [UInt8] = [0, 255]
        var data = Data([1, 2])
        var lists: [[UInt8]] = [[1], []]
        var moment = Date(timeIntervalSince1970: 1_700_000_000.25)
        var url = URL(string: "https://example.org/a")!
        var nothing: Int?
        var something: [UInt8]? = [7]
        var shapes = [Shape.point, .circle(radius: 2), .labelled("a", 1)]
        var inner = Inner(names: ["a", ""], matrix: [[1, 2], []])
        var byName = ["a": 1.5]
        var byNumber = [-3: "x"]
        var anything: MessageValue = ["list": [1, 2.0, .binary([9]), nil]]
    }

    @Test func `every kind of value comes back as it was`() throws {
        let value = Everything()
        let message = try MessageEncoder().encode(value)
        #expect(try MessageDecoder().decode(Everything.self, from: message) == value)
        #expect(try MessageDecoder().decode(Everything.self, fromMessage: try #require(message.map)) == value)
    }

    @Test func `every kind of value has the form a message gives it`() throws {
        let message = try MessageEncoder().encode(Everything())
        let expected: MessageValue = [
            "text": "héllo", "truth": true, "whole": .int(.min), "small": -128, "unsigned": .int(.max),
            "number": .double(1), "float": .double(Double(Float(0.1))), "bytes": .binary([0, 255]),
            "data": .binary([1, 2]), "lists": [.binary([1]), .binary([])], "moment": .double(1_700_000_000.25),
            "url": "https://example.org/a", "something": .binary([7]),
            "shapes": [["point": [:]], ["circle": ["radius": .double(2)]], ["labelled": ["_0": "a", "_1": 1]]],
            "inner": ["names": ["a", ""], "matrix": [[1, 2], []]], "byName": ["a": .double(1.5)],
            "byNumber": ["-3": "x"], "anything": ["list": [1, 2.0, .binary([9]), nil]],
        ]
        #expect(message == expected)
    }

    @Test func `scalars and bytes stand by themselves`() throws {
        let encoder = MessageEncoder()
        #expect(try encoder.encode(1) == 1)
        #expect(try encoder.encode(1.0) == .double(1))
        #expect(try encoder.encode("a") == "a")
        #expect(try encoder.encode([UInt8]([1])) == .binary([1]))
        #expect(try encoder.encode(Int?.none) == nil)
        #expect(try encoder.encode([1, nil, 3]) == [1, nil, 3])
        #expect(try encoder.encode(["a": 1] as [String: MessageValue]) == ["a": 1])
        #expect(try MessageDecoder().decode(Int?.self, from: nil) == nil)
        #expect(try MessageDecoder().decode([Int?].self, from: [1, nil]) == [1, nil])
        #expect(try MessageDecoder().decode([UInt8].self, from: [1, 2]) == [1, 2])
        #expect(try MessageDecoder().decode(MessageValue.self, from: .binary([1])) == .binary([1]))
        #expect(try MessageDecoder().decode([String: MessageValue].self, from: ["a": 1]) == ["a": 1])
    }

    // MARK: Numbers

    private func path(_ error: DecodingError) -> (kind: String, path: String) {
        func joined(_ context: DecodingError.Context) -> String {
            context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: ".")
        }
        return switch error {
        case .dataCorrupted(let context): ("corrupted", joined(context))
        case .typeMismatch(_, let context): ("mismatch", joined(context))
        case .valueNotFound(_, let context): ("nil", joined(context))
        case .keyNotFound(let key, let context): ("missing " + key.stringValue, joined(context))
        @unknown default: ("?", "")
        }
    }

    private func failure<T: Decodable>(_ type: T.Type, _ value: MessageValue) -> (kind: String, path: String)? {
        let error = #expect(throws: DecodingError.self) { try MessageDecoder().decode(type, from: value) }
        return error.map(path)
    }

    @Test func `an integer is read as any type it fits, a double only without a fraction`() throws {
        let decoder = MessageDecoder()
        #expect(try decoder.decode(Double.self, from: 3) == 3)
        #expect(try decoder.decode(Float.self, from: 3) == 3)
        #expect(try decoder.decode(Int.self, from: .double(3)) == 3)
        #expect(try decoder.decode(UInt8.self, from: 255) == 255)
        #expect(try decoder.decode(UInt64.self, from: .double(0x1p63)) == 1 << 63)
        #expect(try decoder.decode(Double.self, from: .double(.infinity)) == .infinity)
        #expect(try decoder.decode(Float.self, from: .double(.nan)).isNaN)
        #expect(try decoder.decode(Date.self, from: 5) == Date(timeIntervalSince1970: 5))
    }

    @Test func `a number that does not fit is corrupted data`() throws {
        #expect(failure(Int.self, .double(3.5))?.kind == "corrupted")
        #expect(failure(Int.self, .double(0x1p63))?.kind == "corrupted")
        #expect(failure(Int.self, .double(.nan))?.kind == "corrupted")
        #expect(failure(Int.self, .double(.infinity))?.kind == "corrupted")
        #expect(failure(UInt.self, -1)?.kind == "corrupted")
        #expect(failure(Int8.self, 128)?.kind == "corrupted")
        #expect(failure(UInt8.self, 256)?.kind == "corrupted")
        #expect(failure(UInt8.self, .double(-1))?.kind == "corrupted")
        #expect(failure(Double.self, .int((1 << 53) + 1))?.kind == "corrupted")
        #expect(failure(Float.self, .int((1 << 24) + 1))?.kind == "corrupted")
        #expect(failure(Float.self, .double(1e300))?.kind == "corrupted")
    }

    @Test func `an unsigned integer beyond 64 bits signed is refused with its path`() throws {
        for value in [UInt64.max, UInt64(Int64.max) + 1] {
            let error = #expect(throws: EncodingError.self) { try MessageEncoder().encode(["a": [0, value]]) }
            guard case .invalidValue(let found, let context)? = error else { return }
            #expect(found as? UInt64 == value)
            #expect(context.codingPath.map(\.stringValue) == ["a", "Index 1"])
        }
        #expect(throws: EncodingError.self) { try MessageEncoder().encode(UInt.max) }
        #expect(try MessageEncoder().encode(UInt64(Int64.max)) == .int(.max))
    }

    // MARK: Errors

    private struct Order: Codable, Equatable {
        struct Line: Codable, Equatable {
            var item: String
            var count: Int
        }
        var lines: [Line]
        var note: String?
    }

    @Test func `errors carry the coding path`() throws {
        let good: MessageValue = ["item": "a", "count": 1]
        #expect(
            try #require(failure(Order.self, ["lines": [good, ["item": 1, "count": 1]]])) == (
                "mismatch", "lines.1.item"
            )
        )
        #expect(try #require(failure(Order.self, ["lines": [["item": "a"]]])) == ("missing count", "lines.0"))
        #expect(try #require(failure(Order.self, ["lines": [["item": nil, "count": 1]]])) == ("nil", "lines.0.item"))
        #expect(try #require(failure(Order.self, ["lines": ["count"]])) == ("mismatch", "lines.0"))
        #expect(try #require(failure(Order.self, ["lines": 1])) == ("mismatch", "lines"))
        #expect(
            try #require(failure(Order.self, ["lines": [["item": "a", "count": 0.5]]])) == (
                "corrupted", "lines.0.count"
            )
        )
        #expect(try #require(failure(Order.self, ["lines": [], "note": 1])) == ("mismatch", "note"))
        #expect(try #require(failure(Order.self, nil)).kind == "nil")
        #expect(try #require(failure([URL].self, ["", "x"])) == ("corrupted", "0"))
        #expect(try #require(failure(Bool.self, 1)).kind == "mismatch")
        #expect(try #require(failure([UInt8].self, "text")).kind == "mismatch")
        #expect(try #require(failure(Data.self, "text")).kind == "mismatch")
        #expect(try #require(failure(String.self, .binary([65]))).kind == "mismatch")
    }

    @Test func `unknown entries are ignored, and nil is as good as no entry`() throws {
        let message: MessageValue = ["lines": [], "note": nil, "type": "order.made", "extra": [1]]
        #expect(try MessageDecoder().decode(Order.self, from: message) == Order(lines: [], note: nil))
    }

    @Test func `a message is a map and may be given its type`() throws {
        let order = Order(lines: [], note: "n")
        #expect(try MessageEncoder().encode(message: order) == ["lines": [], "note": "n"])
        let typed = try MessageEncoder().encode(message: order, type: "order.made")
        #expect(typed == ["lines": [], "note": "n", "type": "order.made"])
        #expect(throws: EncodingError.self) { try MessageEncoder().encode(message: [1]) }
        #expect(throws: EncodingError.self) { try MessageEncoder().encode(message: [UInt8]()) }
    }

    // MARK: Nesting

    private indirect enum Chain: Codable, Equatable {
        case end
        case link(Chain)

        init(from decoder: any Decoder) throws {
            var container = try decoder.unkeyedContainer()
            self = container.isAtEnd ? .end : .link(try container.decode(Chain.self))
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.unkeyedContainer()
            if case .link(let next) = self { try container.encode(next) }
        }

        static func of(_ count: Int) -> Chain { (1..<count).reduce(.end) { chain, _ in .link(chain) } }
    }

    private func nested(_ depth: Int) -> MessageValue {
        (1..<depth).reduce([]) { inner, _ in .array([inner]) }
    }

    @Test func `sixteen containers are written and read, more are refused`() throws {
        #expect(try MessageEncoder().encode(Chain.of(16)) == nested(16))
        #expect(try MessageDecoder().decode(Chain.self, from: nested(16)) == Chain.of(16))
        for depth in [17, 18, 5_000] {
            let error = #expect(throws: EncodingError.self) { try MessageEncoder().encode(Chain.of(depth)) }
            guard case .invalidValue(_, let context)? = error else { return }
            #expect(context.debugDescription.contains("16 containers"))
            #expect(context.codingPath.count <= 16)
            #expect(try #require(failure(Chain.self, nested(depth))).kind == "corrupted")
        }
    }

    @Test func `what a value carries as it is counts towards the nesting`() throws {
        #expect(try MessageEncoder().encode(["a": nested(15)]) == ["a": nested(15)])
        #expect(throws: EncodingError.self) { try MessageEncoder().encode(["a": nested(16)]) }
        #expect(throws: EncodingError.self) { try MessageEncoder().encode(nested(17)) }
        #expect(try MessageEncoder().encode(nested(16)) == nested(16))
        #expect(throws: EncodingError.self) { try MessageEncoder().encode([[nested(15)]]) }
    }

    @Test func `nested containers that are handed out too deep are refused`() throws {
        struct Deep: Encodable {
            var depth: Int
            func encode(to encoder: any Encoder) throws {
                var container = encoder.unkeyedContainer()
                for _ in 1..<depth { container = container.nestedUnkeyedContainer() }
            }
        }
        #expect(try MessageEncoder().encode(Deep(depth: 16)) == nested(16))
        #expect(throws: EncodingError.self) { try MessageEncoder().encode(Deep(depth: 17)) }
        #expect(throws: EncodingError.self) { try MessageEncoder().encode(Deep(depth: 300)) }
    }

    // MARK: Containers by hand

    private class Animal: Codable {
        var legs = 4

        init() {}
    }

    private final class Dog: Animal {
        var name = "Rex"

        private enum Keys: CodingKey {
            case name
            case base
        }

        override init() { super.init() }

        required init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: Keys.self)
            name = try container.decode(String.self, forKey: .name)
            try super.init(from: container.superDecoder())
        }

        override func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Keys.self)
            try container.encode(name, forKey: .name)
            // Written after its place was handed out, and after more was written beside it.
            let base = container.superEncoder(forKey: .base)
            try super.encode(to: container.superEncoder())
            try container.encode("Max", forKey: .name)
            var list = base.unkeyedContainer()
            try list.encode(1)
            var map = list.nestedContainer(keyedBy: Keys.self)
            try list.encodeNil()
            try map.encode(2, forKey: .name)
            try super.encode(to: list.superEncoder())
        }
    }

    @Test func `superclasses and nested containers keep their places`() throws {
        let dog = Dog()
        dog.legs = 3
        let message = try MessageEncoder().encode(dog)
        let expected: MessageValue = [
            "name": "Max", "super": ["legs": 3], "base": [1, ["name": 2], nil, ["legs": 3]],
        ]
        #expect(message == expected)
        let read = try MessageDecoder().decode(Dog.self, from: message)
        #expect(read.name == "Max" && read.legs == 3)
    }

    @Test func `a list read by hand passes over an element only when it was read`() throws {
        struct Mixed: Decodable {
            var found: [String] = []
            init(from decoder: any Decoder) throws {
                var list = try decoder.unkeyedContainer()
                while !list.isAtEnd {
                    if try list.decodeNil() {
                        found.append("nil")
                    } else if let text = try? list.decode(String.self) {
                        found.append(text)
                    } else if var inner = try? list.nestedUnkeyedContainer() {
                        found.append("list of \(try inner.decode(Int.self))")
                    } else {
                        found.append("\(try list.decode(Int.self))")
                    }
                }
                #expect(throws: DecodingError.self) { try list.decode(Int.self) }
                #expect(throws: DecodingError.self) { try list.nestedUnkeyedContainer() }
                #expect(throws: DecodingError.self) { try list.decodeNil() }
            }
        }
        let read = try MessageDecoder().decode(Mixed.self, from: [1, nil, "a", [2]])
        #expect(read.found == ["1", "nil", "a", "list of 2"])
    }

    @Test func `the user info reaches every value`() throws {
        struct Asks: Codable {
            static let key = CodingUserInfoKey(rawValue: "word")!
            var word = ""
            init() {}
            init(from decoder: any Decoder) throws { word = decoder.userInfo[Self.key] as? String ?? "" }
            func encode(to encoder: any Encoder) throws {
                try (encoder.userInfo[Self.key] as? String ?? "").encode(to: encoder)
            }
        }
        var (encoder, decoder) = (MessageEncoder(), MessageDecoder())
        encoder.userInfo[Asks.key] = "out"
        decoder.userInfo[Asks.key] = "in"
        #expect(try encoder.encode(["a": [Asks()]]) == ["a": ["out"]])
        #expect(try decoder.decode([String: [Asks]].self, from: ["a": [1]])["a"]?.first?.word == "in")
    }

    // MARK: JSON

    private struct Reading: Codable, Equatable {
        var sensorName = "s"
        var value = 1.0
        var raw: [UInt8] = [1]
    }

    @Test func `typed JSON keeps kinds and ignores what it does not know`() throws {
        let coding: any JSONCoding = .fanfare
        let json = try coding.encode(Reading())
        #expect(try MessageValue(json: json) == ["sensorName": "s", "value": .double(1), "raw": .binary([1])])
        #expect(try coding.decode(Reading.self, from: json) == Reading())
        let text = #"{"value":2,"sensorName":"é","raw":{"$bytes":""},"more":[{}]}"#
        #expect(try coding.decode(Reading.self, from: text) == Reading(sensorName: "é", value: 2, raw: []))
        #expect(try coding.decode(Reading.self, from: coding.text(Reading())) == Reading())
        #expect(throws: DecodingError.self) { try coding.decode(Reading.self, from: "{}") }
        #expect(throws: MessageValue.JSONFailure.self) { try coding.decode(Reading.self, from: "{") }
        let failure = #expect(throws: MessageValue.JSONFailure.self) { try coding.encode(["a": Double.nan]) }
        #expect(try #require(failure).path == "$.a")
    }

    @Test func `Foundation's coders can take the place of ours`() throws {
        let (encoder, decoder) = (JSONEncoder(), JSONDecoder())
        encoder.keyEncodingStrategy = .convertToSnakeCase
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let coding: any JSONCoding = .foundation(encoder, decoder)
        #expect(try coding.text(Reading()).contains(#""sensor_name":"s""#))
        #expect(try coding.decode(Reading.self, from: coding.text(Reading())) == Reading())
    }

    @Test func `a message value goes through the coders of others, bytes as a list`() throws {
        let value: MessageValue = ["a": [1, 1.5, "x", true, nil, ["b": -2]]]
        #expect(try JSONDecoder().decode(MessageValue.self, from: JSONEncoder().encode(value)) == value)
        let bytes = try JSONEncoder().encode(["a": MessageValue.binary([1, 2])])
        #expect(try JSONDecoder().decode(MessageValue.self, from: bytes) == ["a": [1, 2]])
    }
}
