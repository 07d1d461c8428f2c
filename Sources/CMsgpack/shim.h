// The whole of what Fanfare uses of libmsgpack-dev. FanfareProtocol is the only importer.
#include <msgpack.h>
