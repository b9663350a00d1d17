#!/bin/sh
exec @LIB@/node @FLAGS@ @LIB@/@PROGRAM@.mjs "$@"
