#!/usr/bin/env -S node --max-semi-space-size=4 --disable-warning=ExperimentalWarning
export const version: string = process.version;
console.log(version, process.execArgv);
