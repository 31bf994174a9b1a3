#!/bin/sh
# A CA and the identities of storefront and reviews, in FOLDER; then renewal once an hour, if asked to with --renew.
# Safe to run again: what is there and valid is left alone.
set -eu
folder=${1:?usage: issue-certificates.sh FOLDER [--renew]}

if [ ! -e "$folder/ca/index.json" ]; then
    meshd ca init --out "$folder/ca" --trust-domain cluster.local
fi
for account in storefront reviews; do
    if [ ! -e "$folder/shop.$account/tls.crt" ]; then
        meshd ca issue --ca "$folder/ca" --namespace shop --service-account "$account"
    fi
done
meshd ca renew --ca "$folder/ca" --all --if-due
meshd ca verify --ca "$folder/ca"

if [ "${2:-}" = --renew ]; then
    trap 'exit 0' TERM INT
    while sleep 3600 & wait $!; do
        meshd ca renew --ca "$folder/ca" --all --if-due
    done
fi
