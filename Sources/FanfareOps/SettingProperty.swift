package import FanfareModel

/// A type of property that a setting can fill.
package protocol SettingProperty: Sendable {
    /// The type of what it holds when it holds something.
    associatedtype Content
    init?(settingValue: SettingValue)
    var settingValue: SettingValue { get }
}

/// `nil` is a setting nobody has set.
extension Optional: SettingProperty where Wrapped: SettingProperty {
    package typealias Content = Wrapped.Content
    package init?(settingValue: SettingValue) {
        if settingValue == .unset {
            self = .none
        } else {
            guard let wrapped = Wrapped(settingValue: settingValue) else { return nil }
            self = .some(wrapped)
        }
    }
    package var settingValue: SettingValue { self?.settingValue ?? .unset }
}

extension Int: SettingProperty {
    package typealias Content = Int
    package init?(settingValue: SettingValue) {
        guard case .integer(let number) = settingValue else { return nil }
        self = number
    }
    package var settingValue: SettingValue { .integer(self) }
}

extension Double: SettingProperty {
    package typealias Content = Double
    package init?(settingValue: SettingValue) {
        guard case .number(let number) = settingValue else { return nil }
        self = number
    }
    package var settingValue: SettingValue { .number(self) }
}

extension Bool: SettingProperty {
    package typealias Content = Bool
    package init?(settingValue: SettingValue) {
        guard case .flag(let value) = settingValue else { return nil }
        self = value
    }
    package var settingValue: SettingValue { .flag(self) }
}

extension Milliseconds: SettingProperty {
    package typealias Content = Milliseconds
    package init?(settingValue: SettingValue) {
        guard case .duration(let time) = settingValue else { return nil }
        self = time
    }
    package var settingValue: SettingValue { .duration(self) }
}

extension Rate: SettingProperty {
    package typealias Content = Rate
    package init?(settingValue: SettingValue) {
        guard case .rate(let rate) = settingValue else { return nil }
        self = rate
    }
    package var settingValue: SettingValue { .rate(self) }
}

extension String: SettingProperty {
    package typealias Content = String
    package init?(settingValue: SettingValue) {
        guard case .text(let text) = settingValue else { return nil }
        self = text
    }
    package var settingValue: SettingValue { .text(self) }
}

extension [String]: SettingProperty {
    package typealias Content = [String]
    package init?(settingValue: SettingValue) {
        guard case .list(let texts) = settingValue else { return nil }
        self = texts
    }
    package var settingValue: SettingValue { .list(self) }
}
