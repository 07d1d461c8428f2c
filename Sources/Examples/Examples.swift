@main struct Examples { static func main() {} }
