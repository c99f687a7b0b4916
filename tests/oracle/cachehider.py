"""Filters that hide Swift's cache from everything except the storage of tokens. Swift caches data of containers for a
minute, and applies quotas, settings and keys that are as old."""

CACHES = []


def hidden(_global_conf, **_conf):
    def wrap(app):
        def without(env, start_response):
            cache = env.pop("swift.cache", None)
            env.pop("swift.infocache", None)
            if cache is not None:
                CACHES[:] = [cache]
            return app(env, start_response)

        return without

    return wrap


def shown(_global_conf, **_conf):
    def wrap(app):
        def within(env, start_response):
            env["swift.cache"] = CACHES[0]
            return app(env, start_response)

        return within

    return wrap
