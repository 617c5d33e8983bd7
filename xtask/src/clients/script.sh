# Every step runs in a shell of its own, in one folder that holds objects.yaml; kubectl's kubeconfig is set.

## namespace
kubectl create namespace clients
kubectl config set-context --current --namespace clients >/dev/null
for i in $(seq 100); do kubectl get serviceaccount default configmap/kube-root-ca.crt >/dev/null 2>&1 && break; sleep 0.1; done
kubectl get serviceaccounts,configmaps

## apply
kubectl apply -f objects.yaml

## apply-again
kubectl apply -f objects.yaml

## wait
kubectl wait --for=condition=Ready pod/web --timeout=60s

## get
kubectl get pods,configmaps,services,pvc,roles,rolebindings

## get-wide
kubectl get pods,services,pvc,rolebindings -o wide

## get-labels
kubectl get pods --show-labels -L app

## get-nodes
kubectl get nodes

## get-namespaces
kubectl get namespaces

## get-yaml
kubectl get pod web -o yaml

## get-yaml-others
kubectl get configmap/settings service/web pvc/data role/reader rolebinding/reader -o yaml

## get-managed-fields
kubectl get configmap settings -o yaml --show-managed-fields

## get-jsonpath
kubectl get pod web -o jsonpath='{.spec.containers[*].name} {.status.phase} {.status.qosClass}{"\n"}'

## get-custom-columns
kubectl get pods -o custom-columns=NAME:.metadata.name,PHASE:.status.phase

## get-name
kubectl get all -o name

## get-missing
kubectl get pod nobody
kubectl get nothings
kubectl get pods -n nowhere

## get-selector
kubectl get pods -l app=clients,app!=others
kubectl get pods -l app=nothing
kubectl get pods --field-selector status.phase=Running,spec.nodeName!=x
kubectl get pods --field-selector nosuch=1

## watch
timeout 3 kubectl get configmaps -w -l watched=yes &
sleep 1
kubectl create configmap watched >/dev/null
kubectl label configmap watched watched=yes >/dev/null
kubectl delete configmap watched >/dev/null
wait

## describe-pod
kubectl describe pod web

## describe-others
kubectl describe configmap/settings service/web pvc/data role/reader rolebinding/reader serviceaccount/default namespace/clients | grep -v -e Endpoints -e "^IP"

## logs
kubectl logs web
kubectl logs web -c first
kubectl logs web --tail=2
kubectl logs web -c nobody
kubectl logs nobody

## logs-follow
timeout 2 kubectl logs -f web --tail=3

## logs-timestamps
kubectl logs web --timestamps --tail=1

## exec
kubectl exec web -- sh -c 'echo $COLOUR; cat /settings/file.txt; exit 3'
echo piped | kubectl exec -i web -- cat
kubectl exec web -- nosuchprogram 2>&1 | grep -c .
kubectl exec nobody -- true

## create-configmap
printf 'a=b\n' >literal.txt
kubectl create configmap made --from-literal=x=y --from-file=literal.txt
kubectl get configmap made -o jsonpath='{.data}'
kubectl create configmap made

## create-secret
kubectl create secret generic hidden --from-literal=word=open
kubectl get secret hidden -o yaml
kubectl describe secret hidden
kubectl get secrets

## label
kubectl label pod web tier=front
kubectl label pod web tier=back
kubectl label pod web tier=back --overwrite
kubectl label pod web tier-
kubectl label pod web 'bad label=x'

## annotate
kubectl annotate pod web note=hello
kubectl annotate pod web note=bye
kubectl annotate pod web note-

## patch
kubectl patch configmap settings -p '{"data":{"colour":"red"}}'
kubectl patch configmap settings --type=json -p '[{"op":"add","path":"/data/size","value":"big"}]'
kubectl patch configmap settings --type=merge -p '{"data":{"size":null}}'
kubectl get configmap settings -o jsonpath='{.data}'
kubectl patch pod web -p '{"spec":{"containers":[{"name":"main","image":"other"}],"nodeName":"x"}}'
kubectl patch configmap settings --type=json -p '[{"op":"remove","path":"/data/none"}]'

## edit
printf '#!/bin/sh\nsed -i s/red/green/ "$1"\n' >editor; chmod +x editor
KUBE_EDITOR=./editor kubectl edit configmap settings
KUBE_EDITOR=true kubectl edit configmap settings
kubectl get configmap settings -o jsonpath='{.data.colour}'

## replace
kubectl get configmap settings -o yaml | sed s/green/yellow/ | kubectl replace -f -
kubectl get configmap settings -o yaml | sed 's/resourceVersion: .*/resourceVersion: "1"/' | kubectl replace -f - 2>&1 | sed 's/"[^"]*STDIN[^"]*"/STDIN/'

## server-side-apply
kubectl create configmap shared --from-literal=a=1
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {a: "2", b: "1"}\n' >shared.yaml
kubectl apply --server-side -f shared.yaml
kubectl apply --server-side --force-conflicts -f shared.yaml
kubectl apply --server-side -f shared.yaml --field-manager=other
kubectl get configmap shared -o yaml --show-managed-fields

## dry-run
kubectl create configmap dry --from-literal=a=b --dry-run=server -o yaml
kubectl apply -f objects.yaml --dry-run=server
kubectl get configmap dry

## diff
sed s/blue/black/ objects.yaml | kubectl diff -f - | grep '^[-+] '

## refused
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: []}\n' | kubectl apply -f -
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: typo}\nspec: {containerz: []}\n' | kubectl apply -f -
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: wrong}\nspec: {containers: [{name: a, image: b, ports: [{containerPort: no}]}]}\n' | kubectl apply -f - --validate=false
printf 'apiVersion: v1\nkind: Thing\nmetadata: {name: unknown}\n' | kubectl apply -f -
kubectl run bad --image= --restart=Never
kubectl run bad --image='not an image' --restart=Never --dry-run=server

## run
kubectl run once --image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 --restart=Never --command -- sh -c 'exit 4'
kubectl wait --for=jsonpath='{.status.phase}'=Failed pod/once --timeout=60s
kubectl get pod once
kubectl describe pod once | sed -n '/^Containers/,/^Conditions/p'

## unknown-image
kubectl run lost --image=registry.k8s.io/e2e-test-images/nosuch:1 --image-pull-policy=Never --restart=Never
kubectl wait --for=jsonpath='{.status.containerStatuses[0].state.waiting.reason}'=ErrImageNeverPull pod/lost --timeout=60s
kubectl get pod lost
kubectl describe pod lost | sed -n '/^Containers/,/^Conditions/p'

## events
kubectl events --for pod/web -o custom-columns=TYPE:.type,REASON:.reason,FROM:.source.component,MESSAGE:.message
kubectl get events --field-selector involvedObject.name=once -o custom-columns=TYPE:.type,REASON:.reason,FROM:.source.component,OBJECT:.involvedObject.fieldPath,MESSAGE:.message
kubectl get events --field-selector involvedObject.name=lost --no-headers | awk '{print $2, $3, $4}' | sort | uniq
kubectl get events -o wide | head -1

## api-resources
kubectl api-resources

## api-versions
kubectl api-versions

## auth
kubectl auth whoami | grep -e ATTRIBUTE -e masters -e authenticated
kubectl auth can-i list pods
kubectl auth can-i list pods --as system:serviceaccount:clients:default
kubectl auth can-i delete pods --as system:serviceaccount:clients:default
kubectl get secrets --as system:serviceaccount:clients:default
kubectl auth can-i --list --as system:serviceaccount:clients:default

## explain
kubectl explain configmap
kubectl explain pod.spec.restartPolicy

## raw
kubectl get --raw /api
kubectl get --raw /version | grep -c gitVersion
kubectl get --raw /apis/nothing
kubectl get --raw /healthz

## cluster-roles
kubectl get clusterroles --no-headers | awk '{print $1}'
kubectl get clusterrolebindings --no-headers | awk '{print $1}'

## delete
kubectl delete configmap made settings
kubectl delete pod web
kubectl delete pod nobody
kubectl delete pod nobody --ignore-not-found
kubectl delete pods --all --force
kubectl delete -f objects.yaml --ignore-not-found
kubectl get pods

## delete-namespace
kubectl delete namespace clients --timeout=60s
kubectl get namespace clients
