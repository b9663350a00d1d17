#!/usr/bin/env -S node --max-semi-space-size=4 --use-openssl-ca --disable-warning=ExperimentalWarning
import { launch } from "@culvert/shared/launch.mjs";

await launch(import.meta.resolve("../src/main.ts"));
