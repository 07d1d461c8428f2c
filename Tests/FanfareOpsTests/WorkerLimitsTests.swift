import FanfareModel
import FanfareOps
import FanfareWorker
import Testing

@testable import fanfare_worker

@Suite struct WorkerLimitsTests {
    @Test func `every bound of WorkerLimits is in the table under its snake_case name`() {
        let properties = Mirror(reflecting: WorkerLimits()).children.map { child in
            let name = (child.label ?? "").reduce(into: "") { name, character in
                name += character.isUppercase ? "_" + character.lowercased() : String(character)
            }
            return child.value is Milliseconds ? name + "_seconds" : name
        }
        #expect(!properties.isEmpty)
        #expect(WorkerLimits.settings.map(\.name) == properties)
    }

    @Test func `every default lies within the range of its setting`() throws {
        for setting in WorkerLimits.settings {
            let text = try #require(setting.yaml(WorkerLimits()))
            #expect(try setting.kind.value(of: text) == setting.read(WorkerLimits()))
        }
    }
}
