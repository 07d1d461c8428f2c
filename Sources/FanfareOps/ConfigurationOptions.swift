package import ArgumentParser
import FanfareModel

/// The configuration file of a program, and what may be asked of it instead of running, on the command line.
package struct ConfigurationOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Configuration file (YAML).", valueName: "file"))
    package var config: String?

    /// Left to the program: what is valid is more than its settings.
    @Flag(help: "Say whether the configuration is valid and what it comes to, and exit with 0 or 78.")
    package var checkConfig = false

    @Flag(help: "Print all settings with their values and explanations as a configuration file, and exit.")
    private var printConfig = false

    @Option(
        help: ArgumentHelp(
            "Print what may be set, with its defaults, and exit: sample (a configuration file of comments), markdown "
                + "(a reference) or json.",
            valueName: "form"
        ),
        transform: { try SettingsForm(argument: $0) }
    )
    private var describeConfig: SettingsForm?

    @Option(help: ArgumentHelp("The only section --describe-config describes.", valueName: "section"))
    private var configSection: String?

    package init() {}

    /// The settings the program runs with.
    ///
    /// - Parameters:
    ///   - defaults: What holds without a file and flags.
    ///   - program: Its name, for titles.
    ///   - flags: Sets what the other flags say; they come last.
    /// - Returns: `nil` when the settings were only to be shown: they are, on standard output.
    /// - Throws: `ProgramFailure` when the file cannot be read, or says something that is no setting.
    package func settings<Values>(
        _ defaults: Settings<Values>,
        of program: String,
        flags: (inout Settings<Values>) throws -> Void
    ) throws -> Settings<Values>? {
        if let describeConfig {
            let title = "The configuration of \(program) \(Version.current)"
            StandardStream.output.writeLine(
                try defaults.described(as: describeConfig, section: configSection, title: title)
            )
            return nil
        }
        var settings = defaults
        if let config { try settings.read(yaml: ConfigurationFile.read(config), from: config) }
        try flags(&settings)
        guard printConfig else { return settings }
        StandardStream.output.writeLine(
            settings.commentedYAML(title: "\(program) \(Version.current): every setting and its value.")
        )
        return nil
    }
}
